"""Pre-trains an encoder on a folder of images without labels, and fine-tunes it on a folder of class folders.

    python examples/pretrain_on_your_folder.py IMAGES LABELED [EPOCHS]

IMAGES may hold folders of any depth; LABELED/CLASS/image.jpg. Both runs are resumable and write a report to runs/.
"""

import sys

import vit_keras as vk

images, labeled = sys.argv[1:3]
epochs = int(sys.argv[3]) if len(sys.argv) > 3 else None  # None chooses by the number of images

pretrained = vk.pretrain("vit_nano_conv8_32", images, epochs=epochs)
print(vk.evaluate_features(pretrained.run_directory, labeled))
tuned = vk.finetune(pretrained.run_directory, labeled, epochs=epochs)
print(f"accuracy {tuned.evaluation.accuracy:.1%}, report: {tuned.run_directory / 'report.html'}")
