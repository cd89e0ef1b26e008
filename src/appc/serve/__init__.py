"""Hosting: a directory of images as a discovery endpoint, a registry to pull from, and pages for people."""
