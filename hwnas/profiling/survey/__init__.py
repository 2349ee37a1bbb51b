"""Surveys: designed sets of architectures measured on one device."""
