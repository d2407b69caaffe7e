"""Flows: the graph as data (`ir`), Python functions to that data (`build`), validation (`check`)."""
