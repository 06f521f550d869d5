"""Lightning trains a little and saves: lightning_run.py FOLDER."""

import sys
import warnings
from pathlib import Path

import lightning
import torch

from compare import described

warnings.filterwarnings("ignore")
folder = Path(sys.argv[1])


class Choice:
    """A class that only this script has."""


class Net(lightning.LightningModule):
    def __init__(self, width, choice):
        super().__init__()
        self.save_hyperparameters()
        self.fc1 = torch.nn.Linear(3, width)
        self.fc2 = torch.nn.Linear(width, 2)

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self.fc2(self.fc1(batch[0])), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)}


data = torch.utils.data.TensorDataset(torch.randn(8, 3), torch.randint(0, 2, (8,)))
trainer = lightning.Trainer(
    max_epochs=2,
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
    default_root_dir=folder,
)
net = Net(4, Choice())
trainer.fit(net, torch.utils.data.DataLoader(data, batch_size=4))
trainer.save_checkpoint(folder / "lightning.ckpt")
torch.save(described(dict(net.state_dict())), folder / "tensors-lightning.pt")
