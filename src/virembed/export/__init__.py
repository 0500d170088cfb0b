"""A result in other formats, for programs that do not read HDF5 or half precision."""
