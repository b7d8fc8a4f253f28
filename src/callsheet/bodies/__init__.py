"""Bodies of requests and responses in the formats of OpenAI and Anthropic. Pure (R14).

The bulk runs read and write files of such bodies, and the gateway speaks in them.
"""

from .anthropic import ERROR_TYPES as ERROR_TYPES
from .anthropic import content_blocks as content_blocks
from .anthropic import message_body as message_body
from .anthropic import message_usage as message_usage
from .anthropic import read_arguments as read_arguments
from .anthropic import stop_reason as stop_reason
from .members import CHAT as CHAT
from .members import COMPLETION as COMPLETION
from .members import EMBEDDING as EMBEDDING
from .members import GENERATION as GENERATION
from .members import MESSAGES as MESSAGES
from .members import MODERATION as MODERATION
from .members import RESPONSES as RESPONSES
from .members import InvalidBody as InvalidBody
from .members import ReadMember as ReadMember
from .members import read_messages as read_messages
from .members import split_members as split_members
from .members import take_limit_name as take_limit_name
from .members import take_parts as take_parts
from .members import take_schema as take_schema
from .members import take_system as take_system
from .members import wrong_kind as wrong_kind
from .openai import chat_body as chat_body
from .openai import chat_usage as chat_usage
from .openai import choices_of as choices_of
from .openai import completion_body as completion_body
from .openai import embeddings_body as embeddings_body
from .openai import is_alone as is_alone
from .openai import listed_vector as listed_vector
from .openai import packed_vector as packed_vector
from .openai import response_body as response_body
from .openai import response_members as response_members
from .openai import response_usage as response_usage
