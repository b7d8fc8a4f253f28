"""Composing a post: `PostComposerActor` makes the calls of a recipe, each as soon as possible."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .actor import Compose, PostComposerActor, StepFailed, compose_for
    from .graph import PostGraph, StepCall, critical_path
    from .post import Post, PostStats
    from .recipe import Recipe, RecipeError, Step, default_recipe, load_recipe
    from .shape import StepResult
    from .template import TemplateError, names_used, render
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        actor="Compose PostComposerActor StepFailed compose_for",
        graph="PostGraph StepCall critical_path",
        post="Post PostStats",
        recipe="Recipe RecipeError Step default_recipe load_recipe",
        shape="StepResult",
        template="TemplateError names_used render",
    )

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
    "compose_for",
    "critical_path",
    "default_recipe",
    "load_recipe",
    "names_used",
    "render",
]
