"""DICOM read from its tags: `tags` one file's header (`values` single tags, `frames` each frame), `scan` a
folder's series, `geometry` slices' places, `repeats` phases and copies, `decoding` their cells, `pixels` what
these mean, `read` the whole.
"""
