//! Round trips of documents, and documents that must be rejected.

use proptest::prelude::*;

use super::*;
use crate::value::is_xml_text;

fn call(params: &str) -> String {
    format!("<?xml version='1.0'?>\n<methodCall>\n<methodName>f</methodName>\n{params}\n</methodCall>\n")
}

/// Parses the one value in `xml`, the text between `<value>` and `</value>`.
fn value(xml: &str) -> Result<Value, ParseError> {
    let document = call(&format!("<params>\n<param>\n<value>{xml}</value>\n</param>\n</params>"));
    let (method, mut params) = parse_call(document.as_bytes(), &XmlLimits::default())?;
    assert_eq!((method.as_str(), params.len()), ("f", 1));
    Ok(params.remove(0))
}

fn failure(document: &str) -> ParseError {
    parse_call(document.as_bytes(), &XmlLimits::default()).expect_err(document)
}

fn text(s: &str) -> Value {
    Value::String(s.to_owned())
}

#[test]
fn every_type_keeps_its_type() {
    for (xml, expected) in [
        ("<int>-5</int>", Value::Int(-5)),
        ("<i4>5</i4>", Value::Int(5)),
        ("<i8>5</i8>", Value::I8(5)),
        ("<boolean>1</boolean>", Value::Boolean(true)),
        ("<double>-1.5</double>", Value::Double(-1.5)),
        ("<string> a\n b </string>", text(" a\n b ")),
        ("<string/>", text("")),
        (" plain ", text(" plain ")),
        ("", text("")),
        ("<base64>/w==</base64>", Value::Base64(vec![255])),
        ("<dateTime.iso8601>19980717T14:08:55</dateTime.iso8601>", Value::DateTime("19980717T14:08:55".into())),
        ("<nil/>", Value::Nil),
        ("<nil></nil>", Value::Nil),
        ("\n <int>1</int>\n ", Value::Int(1)),
        ("<array><data/></array>", Value::Array(vec![])),
        (
            "<array>\n<data> <value>a</value>\n<value><array><data></data></array></value></data></array>",
            Value::Array(vec![text("a"), Value::Array(vec![])]),
        ),
        ("<struct/>", Value::Struct(vec![])),
        (
            "<struct><member>\n<name>a b</name>\n<value><int>1</int></value></member>\
             <member><name/><value><struct></struct></value></member></struct>",
            Value::Struct(vec![("a b".into(), Value::Int(1)), (String::new(), Value::Struct(vec![]))]),
        ),
    ] {
        assert_eq!(value(xml), Ok(expected), "{xml}");
    }
}

#[test]
fn the_last_of_repeated_members_counts() {
    let member =
        |name: &str, number: i32| format!("<member><name>{name}</name><value><int>{number}</int></value></member>");
    let members =
        [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("a", 5), ("c", 6)].map(|(name, number)| member(name, number));
    let kept = [("a", 5), ("b", 2), ("c", 6)].map(|(name, number)| (name.to_owned(), Value::Int(number)));
    assert_eq!(value(&format!("<struct>{}</struct>", members.concat())), Ok(Value::Struct(kept.into())));
}

#[test]
fn documents_that_are_not_well_formed_are_refused() {
    let good = call("<params><param><value><string>T</string></value></param></params>");
    let with = |old: &str, new: &str| good.replacen(old, new, 1);
    assert!(parse_call(good.as_bytes(), &XmlLimits::default()).is_ok());
    for document in [
        with("<methodCall>", "<methodCall a=\"<\">"),
        with("<methodCall>", "<methodCall a=\"&\">"),
        with("<methodCall>", "<methodCall a=\"&x;\">"),
        with("<methodCall>", "<methodCall a=\"&#0;\">"),
        with("<methodCall>", "<methodCall a=\"&lt\">"),
        with("<methodCall>", "<methodCall a=\"1\"b=\"2\">"),
        with("<methodCall>", "<methodCall a=\"1\" a=\"2\">"),
        with("<methodCall>", "<methodCall a>"),
        with("<methodCall>", "<methodCall a=>"),
        with("<methodCall>", "<methodCall 1=\"\">"),
        with("<methodCall>", "< methodCall>"),
        with(">T<", ">a<!-- x -- y -->b<"),
        with(">T<", ">a<!-- x --->b<"),
        with(">T<", ">a<!--->b<"),
        with(">T<", ">a]]>b<"),
        with(">T<", ">a<?XML x?>b<"),
        with(">T<", ">a<?xml version='1.0'?>b<"),
        with(">T<", ">a<?1?>b<"),
        with(">T<", ">a<? p?>b<"),
        with(">T<", ">a<?p/x?>b<"),
        with(">T<", ">a<![cdata[x]]>b<"),
        with(">T<", ">a<!ELEMENT x>b<"),
        with(">T<", ">&#x;<"),
        with(">T<", ">&#X41;<"),
        with(">T<", ">&#1114112;<"),
        with(">T<", ">& lt;<"),
        with(" version='1.0'", ""),
        with("version='1.0'", "encoding='UTF-8' version='1.0'"),
        with("version='1.0'", "version='1.0' standalone='yes' encoding='UTF-8'"),
        with("version='1.0'", "version='1.0' standalone='maybe'"),
        with("version='1.0'", "version='1.0' other='x'"),
        with("version='1.0'", "version='1.0'encoding='UTF-8'"),
        with("version='1.0'", "version=''"),
        with("</methodCall>", "</methodCall a='1'>"),
        with("</methodCall>", "</ methodCall>"),
        format!("{good}]]>"),
        format!("{good}<![CDATA[]]>"),
        format!("{good}&#32;"),
        good.replacen("<?xml", "<?xml?><?xml", 1),
    ] {
        let refused = parse_call(document.as_bytes(), &XmlLimits::default());
        assert!(matches!(refused, Err(ParseError::NotWellFormed { .. })), "{document}: {refused:?}");
    }
    for document in [
        with("<methodCall>", "<methodCall a=\"&lt;>'&#65;\" b='\"' >"),
        with("</methodCall>", "</methodCall\n>"),
        with(">T<", ">a<!-- - -x - -->b<?p ?x ??>]]&gt;<!----><![CDATA[]]]]>]>&#00065;<"),
        with("version='1.0'", "version = \"1.0\"\tencoding='UTF-8'\nstandalone='no' "),
    ] {
        let taken = parse_call(document.as_bytes(), &XmlLimits::default());
        assert!(taken.is_ok(), "{document}: {taken:?}");
    }
}

/// Work that a document causes is counted, whatever it consists of.
#[test]
fn pieces_of_markup_are_bounded() {
    let bounds = XmlLimits { pieces: 1000, ..XmlLimits::default() };
    let string =
        |text: String| call(&format!("<params><param><value><string>{text}</string></value></param></params>"));
    let refused = |document: &str| {
        matches!(parse_call(document.as_bytes(), &bounds), Err(ParseError::Bound("too many pieces of markup")))
    };
    for piece in ["&lt;", "x<!---->", "<!---->", "<?p?>", "<![CDATA[x]]>", "\r", "\rx"] {
        assert!(!refused(&string(piece.repeat(450))), "{piece:?}");
        assert!(refused(&string(piece.repeat(1000))), "{piece:?}");
    }
    let attributes =
        |count: usize| call(&format!("<params>{}</params>", "<param a='' b='&lt;'><value/></param>".repeat(count)));
    assert!(!refused(&attributes(40)));
    let bounds = XmlLimits { params: 1000, ..bounds };
    assert!(matches!(
        parse_call(attributes(250).as_bytes(), &bounds),
        Err(ParseError::Bound("too many pieces of markup"))
    ));
    // The length of a piece does not matter.
    assert!(!refused(&string("x".repeat(100_000))));
}

#[test]
fn names_in_markup_are_bounded() {
    let parse = |document: &str| parse_call(document.as_bytes(), &XmlLimits::default());
    let is_bounded = |document: &str| matches!(parse(document), Err(ParseError::Bound(_)));
    for name in ["n", "\u{e9}", "\u{203f}"] {
        let name = |bytes: usize| format!("n{}", name.repeat((bytes - 1) / name.len()));
        let attribute = |bytes| format!("<methodCall {}=''/>", name(bytes));
        let instruction = |bytes| format!("<?{} ?><methodCall/>", name(bytes));
        let entity = |bytes| format!("<methodCall a='&{};'/>", name(bytes));
        let tag = |bytes| format!("<{}/>", name(bytes));
        for document in [&attribute as &dyn Fn(usize) -> String, &instruction, &entity, &tag] {
            assert!(!is_bounded(&document(4096)), "{}", document(20));
            assert!(is_bounded(&document(4100)), "{}", document(20));
        }
    }
    let number =
        |zeros: usize| format!("<methodCall><methodName>&#x{}61;</methodName></methodCall>", "0".repeat(zeros));
    assert_eq!(parse(&number(4094)), Ok(("a".to_owned(), vec![])));
    assert!(is_bounded(&number(4095)));
}

#[test]
fn apache_extensions() {
    for (xml, expected) in [
        ("<ex:i1>1</ex:i1>", Value::Int(1)),
        ("<ex:i2>2</ex:i2>", Value::Int(2)),
        ("<ex:i8>8</ex:i8>", Value::I8(8)),
        ("<ex:nil/>", Value::Nil),
        ("<ex:float>1.5</ex:float>", Value::Double(1.5)),
    ] {
        assert_eq!(value(xml), Ok(expected), "{xml}");
    }
    let refused = value("<ex:serializable>rO0AB</ex:serializable>");
    assert_eq!(refused, Err(ParseError::Invalid("unknown tag 'ex:serializable'".to_owned())));
    let namespaced = "<methodCall xmlns:ex=\"http://ws.apache.org/xmlrpc/namespaces/extensions\">\
                      <methodName>f</methodName></methodCall>";
    assert_eq!(parse_call(namespaced.as_bytes(), &XmlLimits::default()), Ok(("f".to_owned(), vec![])));
}

#[test]
fn text_follows_the_rules_of_xml() {
    for (xml, expected) in [
        ("<string>a&lt;&gt;&amp;&apos;&quot;&#65;&#x42;b</string>", "a<>&'\"ABb"),
        ("<string>a<![CDATA[<&>]]>b<!-- c -->d<?pi?></string>", "a<&>bd"),
        ("<string>1\r\n2\r3&#13;4</string>", "1\n2\n3\r4"),
        ("&#32;", " "),
        ("a<!-- -->b", "ab"),
        ("\u{e9}\u{1D11E}", "\u{e9}\u{1D11E}"),
    ] {
        assert_eq!(value(xml), Ok(text(expected)), "{xml}");
    }
}

#[test]
fn params_may_be_absent_and_comments_anywhere() {
    for document in [
        call(""),
        call("<params/>"),
        "<!-- a --><?pi b?><methodCall><!-- c --><methodName>f</methodName></methodCall> <!-- d --><?e?>\n".to_owned(),
        "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?><methodCall><methodName>f</methodName></methodCall>"
            .to_owned(),
        "<?xml-stylesheet x?><methodCall><methodName>f</methodName></methodCall>".to_owned(),
    ] {
        assert_eq!(parse_call(document.as_bytes(), &XmlLimits::default()), Ok(("f".to_owned(), vec![])), "{document}");
    }
}

#[test]
fn errors_in_xml_have_the_wording_and_positions_of_expat() {
    for (document, expected) in [
        ("", "no element found: line 1, column 0"),
        ("hello", "syntax error: line 1, column 0"),
        ("<methodCall>", "no element found: line 1, column 12"),
        ("<methodCall", "unclosed token: line 1, column 0"),
        ("<methodCall>\n<methodName>x</methodNam>", "mismatched tag: line 2, column 15"),
        ("<methodCall><methodName>&foo;", "undefined entity: line 1, column 24"),
        ("<methodCall><methodName>&#1;", "reference to invalid character number: line 1, column 24"),
        ("<methodCall><methodName>&#xD800;", "reference to invalid character number: line 1, column 24"),
        ("<methodCall><methodName>&</methodName>", "not well-formed (invalid token): line 1, column 25"),
        ("<methodCall><methodName>\u{1}", "not well-formed (invalid token): line 1, column 24"),
        ("<methodCall a=1>", "not well-formed (invalid token): line 1, column 0"),
        ("<methodCall a='1' a='2'>", "not well-formed (invalid token): line 1, column 0"),
        (" <?xml version='1.0'?><methodCall/>", "XML declaration not at start of document: line 1, column 1"),
        ("<methodCall><methodName>f</methodName></methodCall><a/>", "junk after document element: line 1, column 51"),
        ("<methodCall><methodName>f</methodName></methodCall>x", "junk after document element: line 1, column 51"),
        ("<!DOCTYPE a><methodCall/>", "document type declarations are refused: line 1, column 0"),
        ("<?xml version='1.0' encoding='klingon'?><a/>", "unknown encoding: klingon"),
    ] {
        assert_eq!(failure(document).to_string(), expected, "{document}");
    }
}

#[test]
fn well_formed_documents_that_are_no_calls() {
    for document in [
        "<a/>",
        "<methodCall/>",
        "<methodCall>x</methodCall>",
        "<methodCall><params/></methodCall>",
        "<methodCall><methodName>f<int/></methodName></methodCall>",
        "<methodCall><methodName>f</methodName><fault/></methodCall>",
        "<methodCall><methodName>f</methodName><params/><params/></methodCall>",
        "<methodResponse><params/></methodResponse>",
    ] {
        assert!(matches!(failure(document), ParseError::Invalid(_)), "{document}");
    }
    for xml in [
        "<foo>1</foo>",
        "x<int>1</int>",
        "<int>1</int>x",
        "<int>1</int><int>2</int>",
        "<array/>",
        "<array><value/></array>",
        "<array><data><int>1</int></data></array>",
        "<array><data>x</data></array>",
        "<struct><value/></struct>",
        "<struct><member><value/><name>a</name></member></struct>",
        "<struct><member><name>a</name></member></struct>",
        "<struct><member><name>a</name><value/><value/></member></struct>",
        "<params/>",
    ] {
        assert!(matches!(value(xml), Err(ParseError::Invalid(_))), "{xml}");
    }
    for xml in ["<int>x</int>", "<boolean>2</boolean>", "<base64>!</base64>", "<nil>x</nil>", "<double/>"] {
        assert!(matches!(value(xml), Err(ParseError::Scalar(_))), "{xml}");
    }
}

#[test]
fn entity_bombs_are_refused_before_expansion() {
    let bomb = "<?xml version='1.0'?><!DOCTYPE b [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]>\
                <methodCall><methodName>&b;</methodName></methodCall>";
    assert!(matches!(failure(bomb), ParseError::NotWellFormed { .. }));
    let unclosed = format!("<!DOCTYPE b [{}", "<!ENTITY a 'a'>".repeat(10_000));
    assert!(matches!(failure(&unclosed), ParseError::NotWellFormed { .. }));
}

#[test]
fn documents_in_very_many_pieces_take_linear_time() {
    let pieces = |piece: &str| piece.repeat(200_000);
    let document = call(&format!("{}<params>{}</params>", pieces(" <!---->"), pieces("&#32;")));
    assert_eq!(parse_call(document.as_bytes(), &XmlLimits::default()), Ok(("f".to_owned(), vec![])));
    for piece in ["&lt;", "<![CDATA[x]]>", "x<!---->"] {
        assert!(matches!(value(&pieces(piece)), Ok(Value::String(text)) if text.len() == 200_000), "{piece}");
    }
}

#[test]
fn every_bound_is_kept() {
    let nested = |depth: usize| {
        let (open, close) = ("<array><data><value>", "</value></data></array>");
        value(&format!("{}{}", open.repeat(depth), close.repeat(depth)))
    };
    assert!(nested(64).is_ok());
    assert!(matches!(nested(65), Err(ParseError::Bound(_))));
    assert!(matches!(nested(100_000), Err(ParseError::Bound(_))));
    let unclosed = call(&"<struct><member><name>a</name><value>".repeat(100_000));
    assert!(matches!(failure(&unclosed), ParseError::Invalid(_)));

    let bounds = XmlLimits { values: 10, params: 3, name_bytes: 5, ..XmlLimits::default() };
    let refused = |document: &str| matches!(parse_call(document.as_bytes(), &bounds), Err(ParseError::Bound(_)));
    let array = |values: usize| {
        let values = "<value/>".repeat(values);
        call(&format!("<params><param><value><array><data>{values}</data></array></value></param></params>"))
    };
    assert!(!refused(&array(9)));
    assert!(refused(&array(10)));
    let params = |count: usize| call(&format!("<params>{}</params>", "<param><value/></param>".repeat(count)));
    assert!(!refused(&params(3)));
    assert!(refused(&params(4)));
    assert!(refused("<methodCall><methodName>longer</methodName></methodCall>"));
    let many = (0..100_000).fold(String::new(), |all, n| all + &format!(" a{n}=''"));
    assert!(refused(&format!("<methodCall{many}><methodName>f</methodName></methodCall>")));
}

fn encoded(value: &Value) -> String {
    let mut out = Vec::new();
    append_response(&mut out, value);
    let text = String::from_utf8(out).expect("UTF-8");
    let (start, end) = (text.find("<value>").expect("a value") + 7, text.rfind("</value>").expect("a value"));
    text[start..end].to_owned()
}

#[test]
fn values_are_written_in_forms_that_every_client_understands() {
    for (value, expected) in [
        (Value::Int(i32::MIN), "<int>-2147483648</int>"),
        (Value::I8(1), "<i8>1</i8>"),
        (Value::Boolean(false), "<boolean>0</boolean>"),
        (Value::Double(1.0), "<double>1.0</double>"),
        (Value::Double(-0.0), "<double>-0.0</double>"),
        (Value::Double(1e16), "<double>10000000000000000.0</double>"),
        (Value::Double(1.5e-7), "<double>0.00000015</double>"),
        (Value::Double(f64::NAN), "<double>nan</double>"),
        (Value::Double(f64::NEG_INFINITY), "<double>-inf</double>"),
        (text("a<&>\r\n'\""), "<string>a&lt;&amp;&gt;&#13;\n'\"</string>"),
        (text("\0"), "<base64>AA==</base64>"),
        (Value::Base64(vec![]), "<base64></base64>"),
        (Value::Nil, "<nil/>"),
        (Value::Struct(vec![("\u{1}<".into(), Value::Nil)]), {
            "<struct><member><name>\u{FFFD}&lt;</name><value><nil/></value></member></struct>"
        }),
    ] {
        assert_eq!(encoded(&value), expected);
    }
}

#[test]
fn faults_survive_a_round_trip() {
    let fault = Fault { code: 1, text: "<class 'KeyError'>:'zz'".to_owned() };
    let mut out = Vec::new();
    append_fault(&mut out, &fault);
    assert_eq!(parse_response(&out, &XmlLimits::default()), Ok(Err(fault)));
    for document in [
        "<methodResponse><params/></methodResponse>",
        "<methodResponse><params><param><value/></param><param><value/></param></params></methodResponse>",
        "<methodResponse><fault><value>x</value></fault></methodResponse>",
        "<methodResponse><fault><value><struct/></value></fault></methodResponse>",
        "<methodResponse/>",
        "<methodCall/>",
    ] {
        let parsed = parse_response(document.as_bytes(), &XmlLimits::default());
        assert!(matches!(parsed, Err(ParseError::Invalid(_))), "{document}");
    }
}

fn any_text() -> impl Strategy<Value = String> {
    "(?s).*".prop_filter("text that XML can carry", |text| is_xml_text(text))
}

fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Nil),
        any::<i32>().prop_map(Value::Int),
        any::<i64>().prop_map(Value::I8),
        any::<bool>().prop_map(Value::Boolean),
        any::<f64>().prop_filter("NaN equals nothing", |number| !number.is_nan()).prop_map(Value::Double),
        any_text().prop_map(Value::String),
        any::<Vec<u8>>().prop_map(Value::Base64),
        "[0-9]{8}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z?".prop_map(Value::DateTime),
    ];
    scalar.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(any_text(), inner, 0..6)
                .prop_map(|members| Value::Struct(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_survives_a_round_trip(values in prop::collection::vec(any_value(), 0..4)) {
        let mut out = Vec::new();
        append_call(&mut out, "a.method", &values);
        prop_assert_eq!(parse_call(&out, &XmlLimits::default()), Ok(("a.method".to_owned(), values.clone())));
        for value in values {
            out.clear();
            append_response(&mut out, &value);
            prop_assert_eq!(parse_response(&out, &XmlLimits::default()), Ok(Ok(value)));
        }
    }

    #[test]
    fn damaged_documents_do_not_panic(
        value in any_value(),
        damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
    ) {
        let mut out = Vec::new();
        append_call(&mut out, "f", &[value]);
        for (at, with) in damage {
            let at = at.index(out.len());
            out[at] = with;
        }
        // A damaged document may or may not parse; parsing must end and not panic.
        if let Ok((method, params)) = parse_call(&out, &XmlLimits::default()) {
            let mut again = Vec::new();
            append_call(&mut again, &method, &params);
            prop_assert!(parse_call(&again, &XmlLimits::default()).is_ok());
        }
    }
}
