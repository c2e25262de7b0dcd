"""The figures (`make bench`): what an inspected message costs, as ratios in one run against named peers.

`python -m bench [cpu] [memory] [captures] [files]` runs the parts named, all of them without a name. Load generators,
servers and gateways are processes of their own; the CPU of a gateway is user + system time of its process tree.
"""
