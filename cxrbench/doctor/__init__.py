"""What works on this machine: `checks` is the table, `probes` the trials in child processes, `disk` the read speed."""
