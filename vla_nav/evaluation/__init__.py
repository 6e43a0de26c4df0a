"""How well a policy does: closed-loop rollouts with intervals."""
