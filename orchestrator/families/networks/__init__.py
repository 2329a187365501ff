"""Keras networks whose trials train together: what a population is, how it trains, and the families that use it.

`family` and the files named after families describe and plan, and know no TensorFlow; `kit`, `program`, `training` and
`fitted` compute, on workers alone.
"""
