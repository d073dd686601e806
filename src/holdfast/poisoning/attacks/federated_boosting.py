"""Model poisoning of federated learning by explicit boosting (Bhagoji et al. 2019)."""

from dataclasses import dataclass

from torch import Generator, Tensor

from holdfast.core.kinds import FederatedAttack
from holdfast.core.method import hyper, method


@method(cites="bhagoji2019", where="explicit boosting")
@dataclass(frozen=True)
class FederatedBoosting(FederatedAttack):
    """Federated model poisoning by boosting.

    The client trains on its own rows and on the victims under wrong labels, and sends
    lambda * delta with lambda = boost / alpha, where alpha = 1 / clients is its weight in the mean,
    so that its own update survives the averaging with those of the honest clients.
    """

    boost: float = hyper(1.0, "the paper's lambda = 1 / alpha_m", low=0.0)

    def tamper(self, update: Tensor, clients: int, rng: Generator) -> Tensor:
        return update * (self.boost * clients)
