"""How a registration is judged: metrics, the phantom with its known truth, and the demo."""
