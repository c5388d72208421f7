"""Policy files, read strictly and compiled into one immutable `PolicySet`.

Owns the file format (`documents`), its checks and problems, and the bundle of accepted sources that workers
load. Does not watch folders, keep the current snapshot or match requests.
"""
