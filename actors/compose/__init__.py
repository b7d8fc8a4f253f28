"""Composing a post: PostComposerActor over the graph of steps that a recipe describes."""

from .actor import Compose, PostComposerActor, StepFailed
from .graph import Call, Plan, critical_path
from .post import Post, PostStats
from .recipe import Recipe, RecipeError, Step, default_recipe, load_recipe
from .shape import Result
from .template import TemplateError, names_used, render

__all__ = [
    "Call",
    "Compose",
    "Plan",
    "Post",
    "PostComposerActor",
    "PostStats",
    "Recipe",
    "RecipeError",
    "Result",
    "Step",
    "StepFailed",
    "TemplateError",
    "critical_path",
    "default_recipe",
    "load_recipe",
    "names_used",
    "render",
]
