"""Composing a post: PostComposerActor over the graph of steps that a recipe describes."""

from .actor import Compose, PostComposerActor, StepFailed
from .graph import PostGraph, StepCall, critical_path
from .post import Post, PostStats
from .recipe import Recipe, RecipeError, Step, default_recipe, load_recipe
from .shape import StepResult
from .template import TemplateError, names_used, render

__all__ = [
    "Compose",
    "Post",
    "PostComposerActor",
    "PostGraph",
    "PostStats",
    "Recipe",
    "RecipeError",
    "Step",
    "StepCall",
    "StepFailed",
    "StepResult",
    "TemplateError",
    "critical_path",
    "default_recipe",
    "load_recipe",
    "names_used",
    "render",
]
