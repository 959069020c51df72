"""The generated shop's items: ids, English and Chinese texts, categories, prices and the season each text promises.

Texts carry real information: what a lantern, a mooncake or a beach towel is called says when it sells, in both
languages, so that tests can ask whether a language model finds it. Demand itself is made in `shop_drivers.py`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Category:
    """A category, its season and its products.

    Attributes:
        name: category path, levels joined by ' > '.
        peak: day of the year on which the yearly wave is highest.
        wave: height of the yearly wave, in logs; 0 for none.
        events: event → lift on its best day, in logs.
        products: (English, Chinese, price) of its products.
    """

    name: str
    peak: int
    wave: float
    events: dict[str, float]
    products: tuple[tuple[str, str, float], ...]


CATEGORIES: tuple[Category, ...] = (
    Category(
        "Home > Kitchen 厨房",
        330,
        0.15,
        {"618": 0.5, "double_11": 0.9, "spring_festival": -0.5},
        (("mug", "马克杯", 29), ("tea pot", "茶壶", 88), ("cutting board", "砧板", 45), ("lunch box", "便当盒", 39)),
    ),
    Category(
        "Gifts > Spring Festival 年货",
        20,
        0.3,
        {"spring_festival": 2.4, "double_11": 0.3},
        (
            ("lantern", "红灯笼", 36),
            ("couplet", "春联", 18),
            ("nut gift box", "坚果礼盒", 128),
            ("envelope", "红包", 9),
        ),
    ),
    Category(
        "Food > Mooncakes 月饼",
        255,
        0.4,
        {"mid_autumn": 2.8, "spring_festival": -0.4},
        (("lotus mooncake", "莲蓉月饼", 68), ("egg yolk mooncake", "蛋黄月饼", 75), ("mooncake tin", "月饼礼盒", 158)),
    ),
    Category(
        "Gifts > Christmas 圣诞",
        345,
        0.5,
        {"christmas": 2.2, "double_11": 0.4},
        (("bauble", "圣诞球", 15), ("tree", "圣诞树", 168), ("stocking", "圣诞袜", 22), ("wreath", "圣诞花环", 58)),
    ),
    Category(
        "Outdoor > Summer 夏日",
        195,
        1.1,
        {"618": 0.9, "double_11": -0.2},
        (("fan", "风扇", 49), ("beach towel", "沙滩巾", 65), ("ice tray", "冰格", 16), ("swim ring", "游泳圈", 42)),
    ),
    Category(
        "Clothing > Winter 冬装",
        10,
        1.0,
        {"double_11": 1.1, "spring_festival": 0.3},
        (
            ("scarf", "围巾", 79),
            ("gloves", "手套", 39),
            ("hot water bottle", "暖水袋", 33),
            ("wool socks", "羊毛袜", 25),
        ),
    ),
    Category(
        "Stationery 文具",
        240,
        0.6,
        {"618": 0.3, "double_11": 0.5, "spring_festival": -0.6},
        (
            ("notebook", "笔记本", 19),
            ("pencil case", "笔袋", 27),
            ("school bag", "书包", 119),
            ("gel pen", "中性笔", 6),
        ),
    ),
    Category(
        "Electronics 数码",
        320,
        0.1,
        {"618": 1.1, "double_11": 1.4, "spring_festival": -0.4},
        (
            ("usb cable", "数据线", 19),
            ("power bank", "充电宝", 99),
            ("headphones", "耳机", 199),
            ("night light", "小夜灯", 35),
        ),
    ),
    Category(
        "Beauty 美妆",
        315,
        0.1,
        {"618": 1.2, "double_11": 1.5},
        (("face mask", "面膜", 59), ("lipstick", "口红", 89), ("hand cream", "护手霜", 29), ("shampoo", "洗发水", 49)),
    ),
    Category(
        "Toys 玩具",
        350,
        0.2,
        {"childrens_day": 1.1, "double_11": 0.6, "christmas": 0.7},
        (("puzzle", "拼图", 45), ("wooden train", "木制火车", 79), ("kite", "风筝", 32), ("teddy bear", "泰迪熊", 66)),
    ),
)

_STYLES = (
    ("red", "红色"), ("blue", "蓝色"), ("white", "白色"), ("green", "绿色"), ("gold", "金色"), ("large", "大号"),
    ("small", "小号"), ("vintage", "复古"), ("cute", "可爱"), ("classic", "经典"), ("set of 6", "六件套"), ("mini", "迷你"),
)  # fmt: skip
_MAKES = (
    ("ceramic", "陶瓷"), ("wooden", "木质"), ("bamboo", "竹制"), ("cotton", "棉质"), ("silk", "丝绸"), ("steel", "不锈钢"),
    ("paper", "纸质"), ("handmade", "手工"), ("premium", "优质"), ("eco", "环保"), ("travel", "旅行"), ("folding", "折叠"),
)  # fmt: skip

_TYPOGRAPHY = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)} | {" ": "\u3000"})


@dataclass(frozen=True)
class Catalogue:
    """Items of the shop, I of them.

    Attributes:
        item_id: (I,) ids as text: numbers, some with leading zeros, some late ones with letters.
        text: (I,) canonical text: English, Chinese or both.
        language: (I,) en, zh or mixed.
        category: (I,) index into CATEGORIES.
        base_price: (I,) list price at launch, in the shop's currency.
        launched: (I,) day index of the first day on sale.
        intermittent: (I,) sells rarely, in clumps.
        elasticity: (I,) change of log demand per change of log price.
        split: (I,) chance that the next unit of a day belongs to another order line; low for wholesale items.
    """

    item_id: NDArray[np.str_]
    text: NDArray[np.str_]
    language: NDArray[np.str_]
    category: Ints
    base_price: Floats
    launched: Ints
    intermittent: NDArray[np.bool_]
    elasticity: Floats
    split: Floats


def make_catalogue(
    rng: np.random.Generator, items: int, days: int, *, launch_share: float, intermittent_share: float
) -> Catalogue:
    """Make the items of a shop that is open for `days` days."""
    category = np.arange(items) % len(CATEGORIES)
    language = rng.choice(["en", "zh", "mixed"], items, p=[0.4, 0.35, 0.25])
    texts, prices = [], []
    for index in range(items):
        # walking through styles and makes with coprime strides gives 144 distinct texts per product before a number
        products = CATEGORIES[category[index]].products
        turn = index // len(CATEGORIES)
        which, step = turn % len(products), turn // len(products)
        product, own = products[which], 3 * int(category[index]) + 5 * which
        style, make = _STYLES[(step + own) % 12], _MAKES[(step // 12 + 5 * step + own) % 12]
        number = f" {step // 144 + 1}" if step >= 144 else ""
        english, chinese = f"{style[0]} {make[0]} {product[0]}{number}", f"{style[1]}{make[1]}{product[1]}{number}"
        if index % 23 == 0:
            english = f'{english}, 12" boxed'  # a comma and a quote: CSV must quote the field
        texts.append({"en": english, "zh": chinese, "mixed": f"{english} {chinese}"}[language[index]])
        prices.append(product[2])
    launched = np.where(
        rng.random(items) < launch_share, rng.integers(days // 8, max(days // 8 + 1, days - 7), items), 0
    )
    launched[: min(items, len(CATEGORIES))] = 0
    ids = 100_200 + 3 * np.arange(items)
    item_id = np.array([f"{n:06d}" if i % 7 else f"00{1_000 + i}" for i, n in enumerate(ids)], dtype="<U10")
    # the trap of real exports: an id with a letter after years of numeric ones
    late = launched > days // 2
    item_id[late] = np.char.add("x", item_id[late])
    return Catalogue(
        item_id=item_id,
        text=np.array(texts),
        language=language,
        category=category,
        base_price=np.round(np.array(prices) * rng.lognormal(0, 0.25, items), 2),
        launched=launched,
        intermittent=rng.random(items) < intermittent_share,
        elasticity=-rng.uniform(0.6, 2.4, items),
        split=rng.choice([0.9, 0.6, 0.25], items, p=[0.5, 0.35, 0.15]),
    )


VARIANTS = ("plain", "upper", "spaces", "html", "emoji", "wide", "typo", "missing")
"""How a line's text may differ from the item's: all but `typo` and `missing` normalise back to it."""


def variant_of(text: str, kind: str) -> str:
    """One written variant of a text, as shop assistants, feeds and fonts produce them."""
    middle = max(1, len(text) // 2)
    made = {
        "plain": text,
        "upper": text.upper(),
        "spaces": f"  {text.replace(' ', '   ')} ",
        "html": f"<b>{text.replace('&', '&amp;')}</b>&nbsp;",
        "emoji": f"🔥{text} 🎁",
        "wide": text.translate(_TYPOGRAPHY),
        "typo": text[: middle - 1] + text[middle] + text[middle - 1] + text[middle + 1 :] if len(text) > 2 else text,
        "missing": "",
    }
    return made[kind]
