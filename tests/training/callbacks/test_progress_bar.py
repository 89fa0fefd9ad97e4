import io

from rich.console import Console

from vit_keras.training.callbacks.divergence import StepCounter
from vit_keras.training.callbacks.progress_bar import ProgressBar


def test_the_progress_bar_prints_one_line_per_epoch():
    text = io.StringIO()
    progress = ProgressBar(Console(file=text, width=200), StepCounter())
    progress.set_params({"steps": 4, "epochs": 2})
    progress.on_train_begin()
    for epoch in range(2):
        progress.on_train_batch_end(0)
        progress.on_epoch_end(epoch, {"loss": 1.25, "accuracy": 0.5, "val_loss": 2.0, "val_accuracy": 0.75})
    progress.on_epoch_end(1, {"loss": 1.25, "val_loss": 2.0, "knn_accuracy": 0.5})
    progress.stop()
    assert text.getvalue().splitlines() == [
        "epoch   1/2  loss 1.250  accuracy 0.500  validation 0.750",
        "epoch   2/2  loss 1.250  accuracy 0.500  validation 0.750",
        "epoch   2/2  loss 1.250  validation 2.000  kNN accuracy 0.500",
    ]
