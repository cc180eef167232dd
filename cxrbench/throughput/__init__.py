"""How fast, and what holds it back: clocks, turns, records, and the measurements that `cxrbench bench` is made of."""
