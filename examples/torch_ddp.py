"""Trains on several devices or hosts with torch: a loop of torch with DistributedDataParallel around a model of vit_keras.

    KERAS_BACKEND=torch torchrun --nproc-per-node 2 examples/torch_ddp.py FOLDER OUT [EPOCHS]

FOLDER/CLASS/image.jpg; OUT is the directory of the trained model. Keras' own `fit` would train another model in each process, so vit_keras
refuses it there. All processes see the same batches, and each computes its rows: the result is that of one process. (The batch norms of a
convolutional stem would see the rows of their process alone.)
"""

import os
import sys

import keras
import torch
from torch.nn.parallel import DistributedDataParallel

import vit_keras as vk

folder, out, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10
has_gpu = torch.cuda.is_available()
torch.distributed.init_process_group("nccl" if has_gpu else "gloo")
rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
if has_gpu:
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # Keras on torch uses the current device

data = vk.data.load(folder, image_size=32, batch_size=32, seed=0)
keras.utils.set_random_seed(0)  # the same weights everywhere
model = vk.from_preset("vit_nano_patch4_32", num_classes=len(data.class_names))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
loss_of, parallel = torch.nn.CrossEntropyLoss(), DistributedDataParallel(model)

share = data.batch_size // world
for epoch in range(epochs):
    for images, labels in data.train.as_numpy_iterator():
        rows = slice(rank * share, (rank + 1) * share)
        logits = parallel(keras.ops.convert_to_tensor(images[rows]), training=True)
        loss = loss_of(logits, keras.ops.convert_to_tensor(labels[rows], "int64"))
        optimizer.zero_grad()
        loss.backward()  # averages the gradients of all processes
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    if rank == 0:
        print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

if rank == 0:
    vk.save_preset(model, out, class_names=data.class_names)
torch.distributed.destroy_process_group()
