"""The broker on Redis: own key layout, one script call per exchange, the server's clock."""
