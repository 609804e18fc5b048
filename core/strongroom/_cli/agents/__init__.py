"""Commands of the group Agents: workers use secrets without seeing them."""
