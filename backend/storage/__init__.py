"""Bytes too many for a database, in a directory or an S3 bucket; who puts them there encrypts."""
