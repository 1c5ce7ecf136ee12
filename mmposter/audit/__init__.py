"""`mmposter audit`: the posters whose labels should be looked at, found by models that did not learn from them."""
