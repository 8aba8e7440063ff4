"""A user's active version with generated weights, put into store and database as a worker publishes it."""

from __future__ import annotations

from adapters_store.record import Provenance
from adapters_store.store import AdapterStore
from app.database import Database
from app.repositories import users, versions
from app.tables import Version
from benchmarks.material import default_lora, generated_stack
from engine.base import Base


def publish_generated(
    database: Database, store: AdapterStore, base: Base, tenant: str, user_id: str, seed: int
) -> None:
    """A default LoRA of random weights, active for this user, who is made if new."""
    stack = generated_stack(base, default_lora(base, seed), seed=seed)
    provenance = Provenance(base.name, base.digest, base.model_type, any(p.transposed for p in base.projections))
    kept, shape = store.publish(tenant, user_id, stack, provenance), stack.configuration
    with database.write() as session:
        user = users.ensure_user(session, tenant, user_id, None)
        version = Version(
            id=kept.id,
            tenant_id=tenant,
            user_id=user_id,
            path=kept.path,
            layers=shape.layer_bits,
            n=shape.n,
            r=shape.r,
            base_digest=base.digest,
            passed_gate=True,
        )
        versions.activate(session, user, versions.add_version(session, version).id)
