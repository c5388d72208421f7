"""The API we protect: connections to it, and one call through one of them.

Owns pools, upstream timeouts, retries and the parsing of answers. Does not own how an answer is framed for
the caller (`Downstream`), nor which upstream a call goes to.
"""
