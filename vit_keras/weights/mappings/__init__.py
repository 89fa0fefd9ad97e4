"""Tables of tensor names and config fields, ours and other libraries'; `libraries/` has one file per library."""
