"""Trains a small Vision Transformer on a folder of class folders, in plain Keras.

    python examples/train_on_your_folder.py FOLDER [EPOCHS]

FOLDER/CLASS/image.jpg; a tenth of the images is held out for validation and a tenth for testing.
"""

import sys

import vit_keras as vk

folder, epochs = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 50
data = vk.data.load(folder, image_size=96, batch_size=32)
model = vk.from_preset("vit_nano_conv8_96", num_classes=len(data.class_names))

recipe = vk.recipes.small_images(model, data, epochs=epochs)
model = recipe.prepare(model)
model.compile(**recipe.compile_kwargs())
model.fit(recipe.batches(data), epochs=recipe.epochs, validation_data=data.validation, callbacks=recipe.callbacks())
loss, accuracy = model.evaluate(data.test)
print(f"test accuracy {accuracy:.1%}, {len(data.class_names)} classes: {', '.join(data.class_names)}")
