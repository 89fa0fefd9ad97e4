from .published import FINETUNING as FINETUNING
from .published import RECIPES as RECIPES
from .published import SCRATCH as SCRATCH
from .published import PublishedRecipe
from .recipe import Recipe as Recipe

from_scratch: PublishedRecipe
small_images: PublishedRecipe
augreg: PublishedRecipe
deit: PublishedRecipe
deit3: PublishedRecipe
simple_vit: PublishedRecipe
finetune: PublishedRecipe
head_first: PublishedRecipe
last_blocks: PublishedRecipe
bias_only: PublishedRecipe
lora: PublishedRecipe
linear_probe: PublishedRecipe
vit_paper_finetune: PublishedRecipe
big_vision_transfer: PublishedRecipe
mae_finetune: PublishedRecipe
deit3_finetune: PublishedRecipe
