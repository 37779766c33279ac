"""DICOM read from its tags: `tags` one file's header, `scan` a folder's series, `geometry` slices' places,
`repeats` phases and copies, `pixels` their values, `read` the whole."""
