"""Composing a post: `PostComposerActor` makes the calls of a recipe, each as soon as possible."""

from ..lazy import lazy_imports

with lazy_imports(__name__):
    from .actor import Compose as Compose
    from .actor import PostComposerActor as PostComposerActor
    from .actor import StepFailed as StepFailed
    from .actor import compose_for as compose_for
    from .graph import PostGraph as PostGraph
    from .graph import StepCall as StepCall
    from .graph import critical_path as critical_path
    from .post import Post as Post
    from .post import PostStats as PostStats
    from .recipe import Recipe as Recipe
    from .recipe import RecipeError as RecipeError
    from .recipe import Step as Step
    from .recipe import default_recipe as default_recipe
    from .recipe import load_recipe as load_recipe
    from .shape import StepResult as StepResult
    from .template import TemplateError as TemplateError
    from .template import names_used as names_used
    from .template import render as render
