import torch

from GLIDERegLib.registration.adam import Adam


def test_steps_are_those_of_torch_s_own_class():
    generator = torch.Generator().manual_seed(0)
    own = [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,))]
    peers = [p.clone().requires_grad_() for p in own]
    peer, optimiser = torch.optim.Adam(peers, lr=0.1, eps=1e-3), Adam(own)
    for _ in range(5):
        gradients = [torch.randn(p.shape, generator=generator) for p in own]
        for parameter, gradient in zip(peers, gradients, strict=True):
            parameter.grad = gradient.clone()
        peer.step()
        optimiser.step(gradients, 0.1, 1e-3)
    for one, other in zip(own, peers, strict=True):
        torch.testing.assert_close(one, other.detach(), atol=1e-6, rtol=0)
