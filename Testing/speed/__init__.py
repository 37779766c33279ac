"""`make bench`: how long every stage takes and how much memory, and how both grow with the number of voxels.

child.py measures in a process of its own; stages.py reads its times; model.py says what a stage must move and
compute at least; tables.py fits exponents and writes the table; ../bench.py runs it all.
"""
