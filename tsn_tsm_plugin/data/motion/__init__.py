"""The embedded motion dataset: video files of eight classes, generated on demand."""
