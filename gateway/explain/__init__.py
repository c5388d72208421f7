"""Why a call is treated as it is: a request is taken through the very stages of a worker, and nothing is
charged, forwarded or noted. Owns what stands in for the ends of the pipeline, and how what was seen is told.
Decides nothing by itself.
"""
