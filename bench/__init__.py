"""How much CPU one call costs, next to a plain nginx proxy. `python -m bench` prints the table.

Servers run side by side and are measured in turn, so that noise of the machine hits all of them alike; only
the ratios mean anything. Nothing here is asserted by tests.
"""
