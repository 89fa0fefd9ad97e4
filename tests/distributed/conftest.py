"""Scripts that tests start in new processes are not tests."""

collect_ignore = ["evaluate_once.py", "raise_once.py", "sharded_model.py", "tensorflow_workers.py", "train_once.py"]
