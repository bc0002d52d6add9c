"""The embedded motion dataset: real video files of eight classes, made on demand."""
