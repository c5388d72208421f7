"""Thresholds of quotas that were reached, from Redis into the ledger: once each, told in log and metric.

Owns the job. Does not own when one is reached (admission, in the script that charges) nor what becomes of an
event (whoever reads the table).
"""
