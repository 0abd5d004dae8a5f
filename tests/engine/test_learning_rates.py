"""Rates of the parts of a network."""

from distilling import as_distiller, build

from dld.engine.trainer import rate_factor, rate_factors


def test_a_selector_and_a_backbone_have_rates_of_their_own(tiny_cfg):
    cfg = as_distiller(tiny_cfg)
    distiller = build(cfg)
    cfg.MODEL.SELECTOR.LR_FACTOR, cfg.MODEL.BACKBONE.LR_FACTOR = 0.5, 0.25
    factors = rate_factors(cfg, distiller)
    rates = {n: rate_factor(factors, n) for n, p in distiller.named_parameters() if p.requires_grad}
    assert {r for n, r in rates.items() if n.startswith("selector.")} == {0.5}
    assert {r for n, r in rates.items() if n.startswith("student.backbone.bottom_up.")} == {0.25}
    assert {r for n, r in rates.items() if n.startswith("student.proposal_generator.")} == {1.0}
