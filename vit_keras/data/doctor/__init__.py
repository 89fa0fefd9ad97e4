"""The data doctor: finds problems in a data set and reports them."""
