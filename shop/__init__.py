"""The shop: the business that every example, test and benchmark of the framework runs against."""
