"""Which reward trains best at one number of judge calls? `README.md` says how to ask, `docs/ablation.md` the answer."""
