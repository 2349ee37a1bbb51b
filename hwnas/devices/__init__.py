"""Devices of users and of our own measurements, and the fits behind them."""
