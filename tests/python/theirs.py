"""PyTorch and Lightning write weights and what comes out of them: theirs.py FOLDER."""

import sys
import warnings
from pathlib import Path

import lightning
import safetensors.torch
import torch
from net import Net

warnings.filterwarnings("ignore")
folder = Path(sys.argv[1])
torch.manual_seed(5)
image, words, labels = torch.randn(9, 2, 6, 6), torch.randint(0, 11, (9, 4)), torch.randint(0, 3, (9,))
expected = {"image": image, "words": words}


def random_net():
    """No number is where it starts, running statistics included."""
    net = Net()
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.2, 1.0) if tensor.dim() == 1 else tensor.normal_(0, 0.5)
    return net.eval()


with torch.no_grad():
    net = random_net()
    expected["theirs"] = net(image, words)
    torch.save(net.state_dict(), folder / "theirs.pt")
    torch.save({"model": net.state_dict(), "epoch": 3}, folder / "training.pt")
    safetensors.torch.save_file(net.state_dict(), folder / "theirs.safetensors")

    half = random_net().to(torch.bfloat16)
    torch.save(half.state_dict(), folder / "half.pt")
    safetensors.torch.save_file(half.state_dict(), folder / "half.safetensors")
    expected["half"] = half.to(torch.float32)(image, words)


class Lit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = random_net()

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self.model(batch[0], batch[1]), batch[2])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


trainer = lightning.Trainer(
    max_epochs=1,
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    enable_checkpointing=False,
    default_root_dir=folder,
)
lit = Lit()
data = torch.utils.data.TensorDataset(image, words, labels)
trainer.fit(lit, torch.utils.data.DataLoader(data, batch_size=3))
trainer.save_checkpoint(folder / "lightning.ckpt")
with torch.no_grad():
    expected["lightning"] = lit.model.eval()(image, words)
torch.save(expected, folder / "expected.pt")
