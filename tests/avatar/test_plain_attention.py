"""Plain attention is the stock processor's function: what is trained with it is served without it."""

import torch

from magicid.avatar.pretrain_transformer import TextToLatents


def test_plain_attention_gives_what_the_stock_processor_gives() -> None:
    model = TextToLatents(channels=4, vocabulary=50)
    ids, mask = torch.randint(2, 50, (2, 7)), torch.ones(2, 7, dtype=torch.int64)
    mask[1, 4:] = 0
    x, t = torch.randn(2, 4, 3, 8, 8), torch.tensor([0.2, 0.9])
    torch.nn.init.normal_(model.transformer.proj_out.weight)
    stock = model(x, t, ids, mask)
    model.prepare(compile=False)
    plain = model(x, t, ids, mask)
    assert stock.std() > 0.1
    torch.testing.assert_close(plain, stock, rtol=1e-4, atol=1e-4)
