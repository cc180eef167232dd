"""From NIH's files to tables, splits and shards; nothing here needs a GPU library."""
