"""Networks: how they are made, where their weights come from, how their views are averaged."""
