"""A site around Ovara with views of its own, as a product would have them."""
