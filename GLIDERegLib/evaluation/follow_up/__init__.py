"""One patient's nodules over any number of dates: which is which, how large each was, and how it changed."""
