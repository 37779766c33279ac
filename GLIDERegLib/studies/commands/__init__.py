"""The commands that come with the studies: glidereg benchmark and glidereg cohort."""
